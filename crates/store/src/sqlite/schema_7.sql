-- Schema version 7: subscriptions, how far each has been delivered, and what its sink refused.
CREATE TABLE subscription (
  id          TEXT PRIMARY KEY,
  af          TEXT,                       -- whose it is; the operator's own without one
  definition  TEXT    NOT NULL,           -- filter and sink, a JSON object; no secret
  created_ms  INTEGER NOT NULL,
  paused      INTEGER NOT NULL DEFAULT 0,
  position    TEXT    NOT NULL,           -- through where its sink has everything, a JSON object
  lease_owner BLOB,                       -- the process that delivers it
  lease_turn  INTEGER NOT NULL DEFAULT 0  -- moves as long as that process lives
) STRICT;
CREATE INDEX subscription_af ON subscription (af);

-- What a sink would not take. `message` names the record or event; its content is made of that again.
CREATE TABLE dead_letter (
  subscription TEXT    NOT NULL,
  message      TEXT    NOT NULL,
  failed_ms    INTEGER NOT NULL,
  tries        INTEGER NOT NULL,
  error        TEXT    NOT NULL,
  retry        INTEGER NOT NULL DEFAULT 0, -- an operator asked for it
  PRIMARY KEY (subscription, message)
) STRICT, WITHOUT ROWID;

CREATE VIEW subscriptions AS
SELECT s.id, s.af, s.definition, strftime('%Y-%m-%dT%H:%M:%fZ', s.created_ms / 1000.0, 'unixepoch') AS created,
       CASE s.paused WHEN 0 THEN 'no' ELSE 'yes' END AS paused, s.position,
       (SELECT count(*) FROM dead_letter d WHERE d.subscription = s.id) AS dead_letters
FROM subscription s;
