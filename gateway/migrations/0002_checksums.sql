-- A checksum of every entry and every answer: a row that is not as it was written is named, and never given to anybody.
-- Rows from before have none, and neither have those of replicas of the release before that are still at work.
ALTER TABLE exchange.entry ADD COLUMN crc bigint;
ALTER TABLE exchange.once ADD COLUMN crc bigint;

-- What was fetched again in place of damaged entries. A damaged row stays as it is until its day is dropped: what lies
-- on a page that the disk has spoiled can be neither read nor written over.
CREATE TABLE exchange.mended (
    stream   bytea  NOT NULL,
    sequence bigint NOT NULL CHECK (sequence > 0),
    at       bigint NOT NULL,
    link     bytea  NOT NULL CHECK (octet_length(link) = 32),
    head     bytea  NOT NULL,
    body     bytea  NOT NULL,
    crc      bigint NOT NULL,
    PRIMARY KEY (stream, sequence)
);
ALTER TABLE exchange.mended ALTER COLUMN body SET STORAGE EXTERNAL;
