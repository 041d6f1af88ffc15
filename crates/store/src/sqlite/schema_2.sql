-- Schema version 2: subscribers, whose root secrets are in a UICC (protocol section 7).

-- A device with a row here has UICC credentials; one without has a K that its operator provisioned. The K_AIOT that a
-- registration agrees takes the place of that K: `device.wrapped_key`, empty before the first registration.
CREATE TABLE subscriber (
  device         INTEGER PRIMARY KEY,
  supi           TEXT    NOT NULL UNIQUE,
  algorithm      TEXT    NOT NULL,           -- milenage, tuak-<iterations>-<RES octets>
  secret_wrapped BLOB    NOT NULL,           -- K ‖ OPc, or K ‖ TOPc
  sqn            INTEGER NOT NULL DEFAULT 0, -- SEQ (43 bits) ‖ IND (5 bits), the last one issued
  challenge      INTEGER NOT NULL DEFAULT 0, -- challenges issued: rises also where a resynchronisation takes SQN back
  key_challenge  INTEGER NOT NULL DEFAULT 0, -- the challenge that K_AIOT came out of
  registered_ms  INTEGER,
  key_until_ms   INTEGER                     -- until when K_AIOT is good
) STRICT;

DROP VIEW devices;
CREATE VIEW devices AS
SELECT d.id, lower(hex(d.device_id)) AS device_id, d.device_type, d.suite, d.form, d.tag_len, d.fleet, d.key_version,
       CASE d.disabled WHEN 0 THEN 'no' ELSE 'yes' END AS disabled, c.last AS counter_last,
       strftime('%Y-%m-%dT%H:%M:%fZ', d.created_ms / 1000.0, 'unixepoch') AS created,
       CASE WHEN s.device IS NULL THEN 'operator' ELSE 'uicc' END AS credential, s.supi,
       strftime('%Y-%m-%dT%H:%M:%fZ', s.registered_ms / 1000.0, 'unixepoch') AS registered,
       strftime('%Y-%m-%dT%H:%M:%fZ', s.key_until_ms / 1000.0, 'unixepoch') AS key_until
FROM device d LEFT JOIN counter c ON c.device = d.id LEFT JOIN subscriber s ON s.device = d.id;

DROP VIEW records;
CREATE VIEW records AS
SELECT r.id, strftime('%Y-%m-%dT%H:%M:%fZ', r.time_ms / 1000.0, 'unixepoch') AS time,
       lower(hex(d.device_id)) AS device_id,
       CASE r.form WHEN 0 THEN 'beacon' WHEN 1 THEN 'counter' WHEN 2 THEN 'concealed' WHEN 3 THEN 'recovery'
                   WHEN 4 THEN 'blind' WHEN 5 THEN 'aka' ELSE r.form END AS form,
       r.epoch, lower(hex(r.tag1)) AS tag1, lower(hex(r.area_id)) AS area_id, r.gnb_id, r.reader_index,
       CASE r.cause WHEN 1 THEN 'power-on' WHEN 2 THEN 'periodic' WHEN 3 THEN 'event' WHEN 4 THEN 'moved'
                    WHEN 5 THEN 'data' WHEN 6 THEN 'going silent' ELSE r.cause END AS cause,
       r.seq, CASE r.repeat WHEN 0 THEN 'no' ELSE 'yes' END AS repeat, lower(hex(r.data)) AS data,
       lower(hex(r.accept)) AS accept, lower(hex(r.nonce)) AS nonce, r.counter
FROM record r LEFT JOIN device d ON d.id = r.device;
