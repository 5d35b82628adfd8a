-- name: history
-- Reads which migrations ran, with their checksums.
select number, checksum from schema_migrations order by number;

-- name: live_sessions
-- Lists sessions that have a workspace: they have not ended, and were ready once.
select id from sessions where ended_at is null and status <> 'initializing';

-- name: columns
-- Lists the columns of every table, without generated ones, whose values are computed again.
select c.relname as table, a.attname as column
from pg_class as c join pg_attribute as a on a.attrelid = c.oid
where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
    and a.attgenerated = ''
order by c.relname, a.attnum;

-- name: references
-- Lists which table refers to which.
select conrelid::regclass::text as table, confrelid::regclass::text as target from pg_constraint where contype = 'f';

-- name: in_use
-- Returns whether the database holds sessions or keys.
select exists (select from sessions) or exists (select from api_keys);

-- name: schema_exists
-- Returns whether migrations ever ran here.
select to_regclass('public.schema_migrations') is not null;

-- name: drop_schema
-- Removes all tables of an empty database, so that an older schema can be made.
drop schema public cascade;

-- name: make_schema
-- Makes what `drop_schema` has removed, without tables.
create schema public;

-- name: disable_positions
-- Disables the numbering of new events: loaded events keep the positions of the backup.
alter table events disable trigger events_arrive;

-- name: enable_positions
-- Enables the numbering of new events again.
alter table events enable trigger events_arrive;

-- name: sequences
-- Lists the sequences of identity columns.
select c.relname as table, a.attname as column, pg_get_serial_sequence(c.relname, a.attname) as sequence
from pg_class as c join pg_attribute as a on a.attrelid = c.oid
where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attidentity <> '' and not a.attisdropped;

-- name: skip_positions
-- Leaves out positions that readers may have seen after the backup was made: their cursors stay valid.
update event_positions set last = last + 1000000;

-- name: continue_sequence
-- Lets a sequence give the number after the newest one of its column, null in an empty table.
select setval(:sequence::text::regclass, coalesce(:newest::bigint, 0) + 1, false);
