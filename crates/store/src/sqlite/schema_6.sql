-- Schema version 6: alarms. An event that is graver than info raises one, or adds to the one that is open for the same kind and
-- subject: the device if one is named, else the place.
CREATE TABLE alarm (
  id           INTEGER PRIMARY KEY,
  kind         TEXT    NOT NULL,
  subject      BLOB    NOT NULL,
  severity     TEXT    NOT NULL,
  device_id    BLOB,
  area_id      BLOB,
  gnb_id       INTEGER,
  reader_index INTEGER,
  first_ms     INTEGER NOT NULL,
  last_ms      INTEGER NOT NULL,
  count        INTEGER NOT NULL,
  detail       TEXT    NOT NULL, -- of the last event
  acked_ms     INTEGER,          -- when an operator acknowledged it; from then on the next event raises another
  acked_by     TEXT
) STRICT;
CREATE UNIQUE INDEX alarm_open ON alarm (kind, subject) WHERE acked_ms IS NULL;

CREATE VIEW alarms AS
SELECT id, kind, severity, lower(hex(device_id)) AS device_id, lower(hex(area_id)) AS area_id, gnb_id, reader_index,
       strftime('%Y-%m-%dT%H:%M:%fZ', first_ms / 1000.0, 'unixepoch') AS first,
       strftime('%Y-%m-%dT%H:%M:%fZ', last_ms / 1000.0, 'unixepoch') AS last, count, detail,
       strftime('%Y-%m-%dT%H:%M:%fZ', acked_ms / 1000.0, 'unixepoch') AS acked, acked_by
FROM alarm;
