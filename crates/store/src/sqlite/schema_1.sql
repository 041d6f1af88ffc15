-- Schema version 1. Tables are named in the singular; the plural names are views, for reading with any SQLite tool.
-- No foreign keys: their check would be one more look-up per record, and a row id only ever comes out of this file.

CREATE TABLE device (
  id          INTEGER PRIMARY KEY,
  device_id   BLOB    NOT NULL UNIQUE,
  device_type TEXT    NOT NULL,
  suite       INTEGER NOT NULL,
  form        TEXT    NOT NULL,
  tag_len     INTEGER NOT NULL,
  fleet       TEXT    NOT NULL,
  wrapped_key BLOB    NOT NULL,
  key_version INTEGER NOT NULL DEFAULT 1,
  disabled    INTEGER NOT NULL DEFAULT 0,
  created_ms  INTEGER NOT NULL
) STRICT;

-- Apart from `device`: a row of 10 octets instead of 150 makes a burst of counter reports touch a tenth of the pages.
CREATE TABLE counter (
  device INTEGER PRIMARY KEY,
  last   INTEGER NOT NULL, -- the last counter accepted
  record INTEGER NOT NULL  -- the record that moved it
) STRICT;

-- The acceptance records. `id` is their insertion order and never reused: a durable cursor.
-- Epoch first in the unique index: the keys written in one epoch lie together, so that a commit dirties few pages and
-- the working set is one epoch, not the whole history.
CREATE TABLE record (
  id           INTEGER PRIMARY KEY,
  device       INTEGER NOT NULL,
  epoch        INTEGER NOT NULL,
  tag1         BLOB    NOT NULL,
  form         INTEGER NOT NULL, -- 0 beacon, 1 counter, 2 concealed, 3 recovery, 4 blind
  area_id      BLOB    NOT NULL,
  nonce        BLOB    NOT NULL,
  cause        INTEGER NOT NULL,
  seq          INTEGER NOT NULL,
  data         BLOB    NOT NULL,
  accept       BLOB    NOT NULL,
  time_ms      INTEGER NOT NULL,
  repeat       INTEGER NOT NULL,
  gnb_id       INTEGER NOT NULL,
  reader_index INTEGER NOT NULL,
  counter      INTEGER,
  UNIQUE (epoch, device, tag1)
) STRICT;

-- For each minute of record times, the first record of that minute: all records at or after a time have at least the
-- lowest `record` of the minutes from there on, however the clock was set in between. It does the work of an index on
-- `time_ms`, which would cost every record, for one row a minute.
CREATE TABLE minute (
  minute INTEGER PRIMARY KEY, -- time_ms / 60000, rounded down
  record INTEGER NOT NULL
) STRICT;

CREATE TABLE event (
  id           INTEGER PRIMARY KEY,
  time_ms      INTEGER NOT NULL,
  kind         TEXT    NOT NULL,
  severity     TEXT    NOT NULL,
  device_id    BLOB,
  area_id      BLOB,
  gnb_id       INTEGER,
  reader_index INTEGER,
  count        INTEGER NOT NULL,
  detail       TEXT    NOT NULL
) STRICT;
CREATE INDEX event_time ON event (time_ms);

CREATE TABLE chain (
  id            INTEGER PRIMARY KEY,
  snid          BLOB    NOT NULL,
  seed_wrapped  BLOB    NOT NULL,
  first_epoch   INTEGER NOT NULL,
  last_epoch    INTEGER NOT NULL,
  period_s      INTEGER NOT NULL,
  origin_unix_s INTEGER NOT NULL,
  epoch_issued  INTEGER NOT NULL
) STRICT;
CREATE INDEX chain_snid ON chain (snid);

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE VIEW devices AS
SELECT d.id, lower(hex(d.device_id)) AS device_id, d.device_type, d.suite, d.form, d.tag_len, d.fleet, d.key_version,
       CASE d.disabled WHEN 0 THEN 'no' ELSE 'yes' END AS disabled, c.last AS counter_last,
       strftime('%Y-%m-%dT%H:%M:%fZ', d.created_ms / 1000.0, 'unixepoch') AS created
FROM device d LEFT JOIN counter c ON c.device = d.id;

CREATE VIEW records AS
SELECT r.id, strftime('%Y-%m-%dT%H:%M:%fZ', r.time_ms / 1000.0, 'unixepoch') AS time,
       lower(hex(d.device_id)) AS device_id,
       CASE r.form WHEN 0 THEN 'beacon' WHEN 1 THEN 'counter' WHEN 2 THEN 'concealed' WHEN 3 THEN 'recovery'
                   WHEN 4 THEN 'blind' ELSE r.form END AS form,
       r.epoch, lower(hex(r.tag1)) AS tag1, lower(hex(r.area_id)) AS area_id, r.gnb_id, r.reader_index,
       CASE r.cause WHEN 1 THEN 'power-on' WHEN 2 THEN 'periodic' WHEN 3 THEN 'event' WHEN 4 THEN 'moved'
                    WHEN 5 THEN 'data' WHEN 6 THEN 'going silent' ELSE r.cause END AS cause,
       r.seq, CASE r.repeat WHEN 0 THEN 'no' ELSE 'yes' END AS repeat, lower(hex(r.data)) AS data,
       lower(hex(r.accept)) AS accept, lower(hex(r.nonce)) AS nonce, r.counter
FROM record r LEFT JOIN device d ON d.id = r.device;

CREATE VIEW events AS
SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', time_ms / 1000.0, 'unixepoch') AS time, kind, severity,
       lower(hex(device_id)) AS device_id, lower(hex(area_id)) AS area_id, gnb_id, reader_index, count, detail
FROM event;
