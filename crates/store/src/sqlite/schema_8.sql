-- Schema version 8: application functions, and what they may do.
CREATE TABLE af (
  name          TEXT    PRIMARY KEY,
  client_id     TEXT    NOT NULL UNIQUE,
  secret_check  BLOB    NOT NULL, -- HMAC of the secret under a key that the KEK wraps
  "authorization" TEXT  NOT NULL, -- JSON
  created_ms    INTEGER NOT NULL,
  secret_ms     INTEGER NOT NULL  -- tokens from before are not good
) STRICT;

CREATE VIEW afs AS
SELECT name, client_id, "authorization", strftime('%Y-%m-%dT%H:%M:%fZ', created_ms / 1000.0, 'unixepoch') AS created,
       strftime('%Y-%m-%dT%H:%M:%fZ', secret_ms / 1000.0, 'unixepoch') AS secret_since
FROM af;
