-- Schema version 3: where a device's K comes from stands with the device, as it can be in a card without a subscriber.

-- operator: provisioned, in the device's own memory. uicc: agreed with a card, see `subscriber`. uicc-aiot: in the AIoT
-- application of a card, which computes with it.
ALTER TABLE device ADD COLUMN credential TEXT NOT NULL DEFAULT 'operator';
UPDATE device SET credential = 'uicc' WHERE id IN (SELECT device FROM subscriber);

DROP VIEW devices;
CREATE VIEW devices AS
SELECT d.id, lower(hex(d.device_id)) AS device_id, d.device_type, d.suite, d.form, d.tag_len, d.fleet, d.key_version,
       CASE d.disabled WHEN 0 THEN 'no' ELSE 'yes' END AS disabled, c.last AS counter_last,
       strftime('%Y-%m-%dT%H:%M:%fZ', d.created_ms / 1000.0, 'unixepoch') AS created, d.credential, s.supi,
       strftime('%Y-%m-%dT%H:%M:%fZ', s.registered_ms / 1000.0, 'unixepoch') AS registered,
       strftime('%Y-%m-%dT%H:%M:%fZ', s.key_until_ms / 1000.0, 'unixepoch') AS key_until
FROM device d LEFT JOIN counter c ON c.device = d.id LEFT JOIN subscriber s ON s.device = d.id;
