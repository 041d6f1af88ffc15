-- Schema version 10: records lose their unique index. Their keys are in a table of their own, which they reach late and in
-- sorted order (`keys.rs`): an index would dirty a page of 4 KiB for nearly every record.
CREATE TABLE record_now (
  id           INTEGER PRIMARY KEY,
  device       INTEGER NOT NULL,
  epoch        INTEGER NOT NULL,
  tag1         BLOB    NOT NULL,
  form         INTEGER NOT NULL, -- 0 beacon, 1 counter, 2 concealed, 3 recovery, 4 blind, 5 aka
  area_id      BLOB    NOT NULL,
  nonce        BLOB    NOT NULL,
  cause        INTEGER NOT NULL,
  seq          INTEGER NOT NULL,
  data         BLOB    NOT NULL,
  accept       BLOB    NOT NULL,
  time_ms      INTEGER NOT NULL,
  repeat       INTEGER NOT NULL,
  gnb_id       INTEGER NOT NULL,
  reader_index INTEGER NOT NULL,
  counter      INTEGER,
  link         BLOB    NOT NULL DEFAULT x''
) STRICT;
INSERT INTO record_now
SELECT id, device, epoch, tag1, form, area_id, nonce, cause, seq, data, accept, time_ms, repeat, gnb_id, reader_index, counter, link
FROM record ORDER BY id;

-- Epoch first, then the block of 131072 records that a record is in: keys reach the table block after block, each in sorted order,
-- so that they are added at its end. `key_block` names the blocks of an epoch, in each of which a key may be.
CREATE TABLE record_key (
  epoch  INTEGER NOT NULL,
  block  INTEGER NOT NULL,
  device INTEGER NOT NULL,
  tag1   BLOB    NOT NULL,
  record INTEGER NOT NULL,
  PRIMARY KEY (epoch, block, device, tag1)
) STRICT, WITHOUT ROWID;
INSERT INTO record_key SELECT epoch, id >> 17, device, tag1, id FROM record ORDER BY 1, 2, 3, 4;
CREATE TABLE key_block (
  epoch INTEGER NOT NULL,
  block INTEGER NOT NULL,
  PRIMARY KEY (epoch, block)
) STRICT, WITHOUT ROWID;
INSERT INTO key_block SELECT DISTINCT epoch, block FROM record_key ORDER BY 1, 2;

-- One row: the keys of all records up to this one are in `record_key`.
CREATE TABLE keyed (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  record INTEGER NOT NULL
) STRICT;
INSERT INTO keyed SELECT 1, coalesce(max(id), 0) FROM record;

DROP VIEW records;
DROP TABLE record;
ALTER TABLE record_now RENAME TO record;
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
