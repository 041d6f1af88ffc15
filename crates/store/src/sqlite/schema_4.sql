-- Schema version 4: the evidence chain. `link` is SHA-256 over the link of the record before and the digest of this one; the
-- migration computes it for the records there are.
ALTER TABLE record ADD COLUMN link BLOB NOT NULL DEFAULT x'';

-- Signed statements that the chain came to `link` at `record`.
CREATE TABLE checkpoint (
  id        INTEGER PRIMARY KEY,
  record    INTEGER NOT NULL,
  link      BLOB    NOT NULL,
  time_ms   INTEGER NOT NULL,
  signature BLOB    NOT NULL -- Ed25519
) STRICT;
CREATE INDEX checkpoint_record ON checkpoint (record);

CREATE VIEW checkpoints AS
SELECT id, record, lower(hex(link)) AS link, strftime('%Y-%m-%dT%H:%M:%fZ', time_ms / 1000.0, 'unixepoch') AS time,
       lower(hex(signature)) AS signature
FROM checkpoint;
