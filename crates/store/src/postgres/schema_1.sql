-- Schema version 1, for PostgreSQL 15 and what speaks its wire and SQL (CockroachDB, YugabyteDB): no extension, no sequence,
-- no trigger. Tables are named in the singular; the plural names are views, for people.
-- Octets are BYTEA, times are Unix times in ms. No foreign keys: their check would be one more look-up per record.

CREATE TABLE device (
  id          BIGINT PRIMARY KEY, -- dense from 1, given out by `allocation`
  device_id   BYTEA NOT NULL UNIQUE,
  device_type TEXT NOT NULL,
  suite       SMALLINT NOT NULL,
  form        TEXT NOT NULL,
  tag_len     SMALLINT NOT NULL,
  fleet       TEXT NOT NULL,
  wrapped_key BYTEA NOT NULL,
  key_version BIGINT NOT NULL DEFAULT 1,
  disabled    BOOLEAN NOT NULL DEFAULT false,
  created_ms  BIGINT NOT NULL,
  credential  TEXT NOT NULL,  -- operator, uicc (see `subscriber`), uicc-aiot
  change      BIGINT NOT NULL -- the number of its last change, given out by `allocation`
);
CREATE INDEX device_change ON device (change);

CREATE TABLE subscriber (
  device         BIGINT PRIMARY KEY,
  supi           TEXT NOT NULL UNIQUE,
  algorithm      TEXT NOT NULL,
  secret_wrapped BYTEA NOT NULL,
  sqn            BIGINT NOT NULL DEFAULT 0, -- SEQ (43 bits) and IND (5 bits), the last one issued
  challenge      BIGINT NOT NULL DEFAULT 0, -- challenges issued
  key_challenge  BIGINT NOT NULL DEFAULT 0, -- the challenge that K_AIOT came out of
  registered_ms  BIGINT,
  key_until_ms   BIGINT
);

CREATE TABLE counter (
  device BIGINT PRIMARY KEY,
  last   BIGINT NOT NULL, -- the last counter accepted
  record BIGINT NOT NULL  -- the record that moved it
);

-- A writer is a process that accepts: one for each data directory. It numbers its records and links them to each other
-- without asking anybody; its row is its own, so no two processes ever wait for each other here. Its `head` is compared and
-- moved by the statement that inserts: a process that is not who it believes to be inserts nothing.
CREATE TABLE writer (
  writer  BIGINT PRIMARY KEY,    -- from 0
  owner   BYTEA NOT NULL UNIQUE, -- the data directory, which takes its writer up again when it comes back
  session BYTEA NOT NULL,        -- the process that has it now
  head    BIGINT NOT NULL,       -- id of its last record; writer * 2^40 before the first
  link    BYTEA NOT NULL         -- the link of that record
);

-- The acceptance records. The key begins with the device, so that inserts are spread over the table and over the nodes.
-- `id` is writer * 2^40 + place, the place dense from 1.
CREATE TABLE record (
  device       BIGINT NOT NULL,
  epoch        BIGINT NOT NULL,
  tag1         BYTEA NOT NULL,
  id           BIGINT NOT NULL,
  form         SMALLINT NOT NULL, -- 0 beacon, 1 counter, 2 concealed, 3 recovery, 4 blind, 5 aka
  area_id      BYTEA NOT NULL,
  nonce        BYTEA NOT NULL,
  cause        SMALLINT NOT NULL,
  seq          SMALLINT NOT NULL,
  data         BYTEA NOT NULL,
  accept       BYTEA NOT NULL,
  time_ms      BIGINT NOT NULL,
  repeat       BOOLEAN NOT NULL,
  gnb_id       BIGINT NOT NULL,
  reader_index INTEGER NOT NULL,
  counter      BIGINT,
  link         BYTEA NOT NULL,
  PRIMARY KEY (device, epoch, tag1)
);
CREATE UNIQUE INDEX record_id ON record (id);

-- For each writer and minute of record times, an id no later than its first record of that minute: it does the work of an
-- index on the time for one row a minute.
CREATE TABLE minute (
  writer BIGINT NOT NULL,
  minute BIGINT NOT NULL, -- time_ms / 60000, rounded down
  record BIGINT NOT NULL,
  PRIMARY KEY (writer, minute)
);

CREATE TABLE checkpoint (
  record    BIGINT NOT NULL,
  time_ms   BIGINT NOT NULL,
  link      BYTEA NOT NULL,
  signature BYTEA NOT NULL, -- Ed25519
  PRIMARY KEY (record, time_ms, signature)
);

-- Rate-limited, so their ids may come from one row of `allocation`.
CREATE TABLE event (
  id           BIGINT PRIMARY KEY,
  time_ms      BIGINT NOT NULL,
  kind         TEXT NOT NULL,
  severity     TEXT NOT NULL,
  device_id    BYTEA,
  area_id      BYTEA,
  gnb_id       BIGINT,
  reader_index INTEGER,
  count        BIGINT NOT NULL,
  detail       TEXT NOT NULL
);

-- What the events of one kind and subject (the device, else the place) come to until an operator acknowledges it.
CREATE TABLE alarm (
  id           BIGINT PRIMARY KEY,
  kind         TEXT NOT NULL,
  subject      BYTEA NOT NULL,
  severity     TEXT NOT NULL,
  device_id    BYTEA,
  area_id      BYTEA,
  gnb_id       BIGINT,
  reader_index INTEGER,
  first_ms     BIGINT NOT NULL,
  last_ms      BIGINT NOT NULL,
  count        BIGINT NOT NULL,
  detail       TEXT NOT NULL, -- of the last event
  acked_ms     BIGINT,        -- from then on the next event raises another
  acked_by     TEXT
);
CREATE UNIQUE INDEX alarm_open ON alarm (kind, subject) WHERE acked_ms IS NULL;

CREATE TABLE chain (
  snid          BYTEA NOT NULL,
  number        BIGINT NOT NULL, -- from 1; the highest is the newest
  seed_wrapped  BYTEA NOT NULL,
  first_epoch   BIGINT NOT NULL,
  last_epoch    BIGINT NOT NULL,
  period_s      BIGINT NOT NULL,
  origin_unix_s BIGINT NOT NULL,
  epoch_issued  BIGINT NOT NULL,
  PRIMARY KEY (snid, number)
);

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value BYTEA NOT NULL
);

-- Last number given out: of devices, of changes to them, of events, of alarms. Numbers are taken in the transaction that uses them, and
-- the row stays locked until it ends: their order is that of the commits.
CREATE TABLE allocation (
  name TEXT PRIMARY KEY,
  last BIGINT NOT NULL
);
INSERT INTO allocation (name, last) VALUES ('device', 0), ('change', 0), ('event', 0), ('alarm', 0);

CREATE VIEW devices AS
SELECT d.id, encode(d.device_id, 'hex') AS device_id, d.device_type, d.suite, d.form, d.tag_len, d.fleet, d.key_version,
       d.disabled, c.last AS counter_last, to_timestamp(d.created_ms / 1000.0) AS created,
       d.credential, s.supi,
       to_timestamp(s.registered_ms / 1000.0) AS registered, to_timestamp(s.key_until_ms / 1000.0) AS key_until
FROM device d LEFT JOIN counter c ON c.device = d.id LEFT JOIN subscriber s ON s.device = d.id;

CREATE VIEW records AS
SELECT r.id, to_timestamp(r.time_ms / 1000.0) AS time, encode(d.device_id, 'hex') AS device_id,
       CASE r.form WHEN 0 THEN 'beacon' WHEN 1 THEN 'counter' WHEN 2 THEN 'concealed' WHEN 3 THEN 'recovery'
                   WHEN 4 THEN 'blind' ELSE 'aka' END AS form,
       r.epoch, encode(r.tag1, 'hex') AS tag1, encode(r.area_id, 'hex') AS area_id, r.gnb_id, r.reader_index,
       CASE r.cause WHEN 1 THEN 'power-on' WHEN 2 THEN 'periodic' WHEN 3 THEN 'event' WHEN 4 THEN 'moved'
                    WHEN 5 THEN 'data' WHEN 6 THEN 'going silent' ELSE 'unknown' END AS cause,
       r.seq, r.repeat, encode(r.data, 'hex') AS data, encode(r.accept, 'hex') AS accept,
       encode(r.nonce, 'hex') AS nonce, r.counter
FROM record r LEFT JOIN device d ON d.id = r.device;

CREATE VIEW checkpoints AS
SELECT record, encode(link, 'hex') AS link, to_timestamp(time_ms / 1000.0) AS time, encode(signature, 'hex') AS signature
FROM checkpoint;

CREATE VIEW events AS
SELECT id, to_timestamp(time_ms / 1000.0) AS time, kind, severity, encode(device_id, 'hex') AS device_id,
       encode(area_id, 'hex') AS area_id, gnb_id, reader_index, count, detail
FROM event;

CREATE VIEW alarms AS
SELECT id, kind, severity, encode(device_id, 'hex') AS device_id, encode(area_id, 'hex') AS area_id, gnb_id, reader_index,
       to_timestamp(first_ms / 1000.0) AS first, to_timestamp(last_ms / 1000.0) AS last, count, detail,
       to_timestamp(acked_ms / 1000.0) AS acked, acked_by
FROM alarm;
