-- name: lock_schema
-- Makes migrations wait for each other until the connection closes.
select pg_advisory_lock(hashtextextended('jelmore schema', 0));

-- name: make_history
-- Creates the table that records which migrations ran.
create table if not exists schema_migrations (
    number integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now()
);

-- name: history
-- Reads which migrations ran.
select number, checksum from schema_migrations order by number;

-- name: remember_migration
-- Records that a migration ran.
insert into schema_migrations (number, name, checksum) values (:number, :name, :checksum);

-- name: database_exists
-- Returns whether the server has a database of this name.
select exists (select from pg_database where datname = :name);
