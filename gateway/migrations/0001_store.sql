-- Streams, entries, cursors, once ids, leases: what gateway/src/store/mod.rs promises, as tables.
--
-- A migration that was released is never edited; a change is a new file. It runs in one transaction, while the
-- replicas of the release before may still be at work: they must be able to go on with what it leaves.

-- Where each stream ends, and how far it was purged. Taken FOR UPDATE by who appends, so numbers have no gaps.
-- Half of each page stays free for new versions of its rows: then no index entry is written for them.
CREATE TABLE exchange.stream (
    name   bytea  PRIMARY KEY CHECK (octet_length(name) = 8),
    last   bigint NOT NULL DEFAULT 0 CHECK (last >= 0),
    link   bytea  NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (octet_length(link) = 32),
    purged bigint NOT NULL DEFAULT 0 CHECK (purged BETWEEN 0 AND last)
) WITH (fillfactor = 50);

-- The entries, one row each, in a partition for each day of their time. A partition is dropped as a whole when every
-- entry in it is purged; entries up to stream.purged are gone for every reader before that.
CREATE TABLE exchange.entry (
    day      integer NOT NULL,
    stream   bytea   NOT NULL,
    sequence bigint  NOT NULL CHECK (sequence > 0),
    at       bigint  NOT NULL,
    link     bytea   NOT NULL CHECK (octet_length(link) = 32),
    head     bytea   NOT NULL,
    body     bytea   NOT NULL,
    PRIMARY KEY (stream, sequence, day)
) PARTITION BY LIST (day);

-- Sealed octets do not get shorter.
ALTER TABLE exchange.entry ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE exchange.cursor (
    name    bytea  PRIMARY KEY CHECK (octet_length(name) = 16),
    through bigint NOT NULL DEFAULT 0 CHECK (through >= 0),
    link    bytea  NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (octet_length(link) = 32)
) WITH (fillfactor = 50);

CREATE TABLE exchange.once (
    id     bytea  PRIMARY KEY CHECK (octet_length(id) BETWEEN 1 AND 64),
    at     bigint NOT NULL,
    digest bytea  NOT NULL CHECK (octet_length(digest) = 32),
    answer bytea  NOT NULL
);
CREATE INDEX once_at ON exchange.once (at);

-- Who does what only one replica may do. The token grows whenever another holder takes it, and is checked in the
-- transaction of every change that is made under it.
CREATE TABLE exchange.lease (
    name    bytea       PRIMARY KEY CHECK (octet_length(name) = 8),
    holder  bytea       NOT NULL CHECK (octet_length(holder) = 16),
    token   bigint      NOT NULL,
    expires timestamptz NOT NULL
) WITH (fillfactor = 50);

-- The last group of changes that each process has committed: tells what became of a commit whose answer was lost.
CREATE TABLE exchange.writer (
    process bytea       PRIMARY KEY CHECK (octet_length(process) = 16),
    kept    bigint      NOT NULL DEFAULT 0,
    seen    timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
