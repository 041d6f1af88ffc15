-- Schema version 9: kept commands, for devices that are told when they report next.
CREATE TABLE command (
  id          INTEGER PRIMARY KEY,
  device      INTEGER NOT NULL,
  kind        TEXT    NOT NULL, -- read, write, disable
  first_octet INTEGER NOT NULL, -- of the device's memory
  length      INTEGER NOT NULL, -- octets to read
  data        BLOB    NOT NULL, -- what to write
  made_ms     INTEGER NOT NULL,
  expires_ms  INTEGER NOT NULL,
  state       TEXT    NOT NULL DEFAULT 'kept', -- kept, given, done, failed, withdrawn, expired
  given_epoch INTEGER, -- the record whose ACCEPT it was last given with
  given_tag1  BLOB,
  given_ms    INTEGER,
  times_given INTEGER NOT NULL DEFAULT 0,
  failure     TEXT,    -- why it failed, or why the last try came to nothing
  read        BLOB,    -- what was read
  ended_ms    INTEGER
) STRICT;
CREATE INDEX command_open ON command (device) WHERE state IN ('kept', 'given');

CREATE VIEW commands AS
SELECT c.id, lower(hex(d.device_id)) AS device_id, c.kind, c.first_octet, c.length, lower(hex(c.data)) AS data, c.state,
       strftime('%Y-%m-%dT%H:%M:%fZ', c.made_ms / 1000.0, 'unixepoch') AS made,
       strftime('%Y-%m-%dT%H:%M:%fZ', c.expires_ms / 1000.0, 'unixepoch') AS expires,
       strftime('%Y-%m-%dT%H:%M:%fZ', c.given_ms / 1000.0, 'unixepoch') AS given, c.times_given,
       strftime('%Y-%m-%dT%H:%M:%fZ', c.ended_ms / 1000.0, 'unixepoch') AS ended, c.failure, lower(hex(c.read)) AS read
FROM command c LEFT JOIN device d ON d.id = c.device;
