-- Schema version 4: kept commands, for devices that are told when they report next.
CREATE TABLE command (
  id          BIGINT PRIMARY KEY, -- given out by `allocation`
  device      BIGINT NOT NULL,
  kind        TEXT NOT NULL,      -- read, write, disable
  first_octet INTEGER NOT NULL,   -- of the device's memory
  length      INTEGER NOT NULL,   -- octets to read
  data        BYTEA NOT NULL,     -- what to write
  made_ms     BIGINT NOT NULL,
  expires_ms  BIGINT NOT NULL,
  state       TEXT NOT NULL DEFAULT 'kept', -- kept, given, done, failed, withdrawn, expired
  given_epoch BIGINT,             -- the record whose ACCEPT it was last given with
  given_tag1  BYTEA,
  given_ms    BIGINT,
  times_given BIGINT NOT NULL DEFAULT 0,
  failure     TEXT,               -- why it failed, or why the last try came to nothing
  read        BYTEA,              -- what was read
  ended_ms    BIGINT
);
CREATE INDEX command_open ON command (device) WHERE state IN ('kept', 'given');
INSERT INTO allocation (name, last) VALUES ('command', 0);

CREATE VIEW commands AS
SELECT c.id, encode(d.device_id, 'hex') AS device_id, c.kind, c.first_octet, c.length, encode(c.data, 'hex') AS data, c.state,
       to_timestamp(c.made_ms / 1000.0) AS made, to_timestamp(c.expires_ms / 1000.0) AS expires,
       to_timestamp(c.given_ms / 1000.0) AS given, c.times_given, to_timestamp(c.ended_ms / 1000.0) AS ended, c.failure,
       encode(c.read, 'hex') AS read
FROM command c LEFT JOIN device d ON d.id = c.device;
