-- Schema version 2: subscriptions, how far each has been delivered, and what its sink refused.
CREATE TABLE subscription (
  id          TEXT PRIMARY KEY,
  af          TEXT,                          -- whose it is; the operator's own without one
  definition  TEXT NOT NULL,                 -- filter and sink, a JSON object; no secret
  created_ms  BIGINT NOT NULL,
  paused      BOOLEAN NOT NULL DEFAULT false,
  position    TEXT NOT NULL,                 -- through where its sink has everything, a JSON object
  lease_owner BYTEA,                         -- the process that delivers it
  lease_turn  BIGINT NOT NULL DEFAULT 0      -- moves as long as that process lives
);
CREATE INDEX subscription_af ON subscription (af);

-- What a sink would not take. `message` names the record or event; its content is made of that again.
CREATE TABLE dead_letter (
  subscription TEXT NOT NULL,
  message      TEXT NOT NULL,
  failed_ms    BIGINT NOT NULL,
  tries        BIGINT NOT NULL,
  error        TEXT NOT NULL,
  retry        BOOLEAN NOT NULL DEFAULT false, -- an operator asked for it
  PRIMARY KEY (subscription, message)
);

-- Locked by whoever adds a subscription, so that a quota holds.
INSERT INTO allocation (name, last) VALUES ('subscription', 0);

CREATE VIEW subscriptions AS
SELECT s.id, s.af, s.definition, to_timestamp(s.created_ms / 1000.0) AS created, s.paused, s.position,
       (SELECT count(*) FROM dead_letter d WHERE d.subscription = s.id) AS dead_letters
FROM subscription s;
