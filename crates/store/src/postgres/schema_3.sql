-- Schema version 3: application functions, and what they may do.
CREATE TABLE af (
  name            TEXT PRIMARY KEY,
  client_id       TEXT NOT NULL UNIQUE,
  secret_check    BYTEA NOT NULL, -- HMAC of the secret under a key that the KEK wraps
  "authorization" TEXT NOT NULL,  -- JSON
  created_ms      BIGINT NOT NULL,
  secret_ms       BIGINT NOT NULL -- tokens from before are not good
);

CREATE VIEW afs AS
SELECT name, client_id, "authorization", to_timestamp(created_ms / 1000.0) AS created,
       to_timestamp(secret_ms / 1000.0) AS secret_since
FROM af;
