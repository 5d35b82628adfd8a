-- The event log: one order over the events of all sessions, and tickets for streams that a browser opens.
--
-- A sequence cannot number events: its values become visible in the order of the commits. So committed events wait in
-- `event_arrivals`, and one transaction at a time moves them to `event_log` and gives them the next positions. Whoever
-- sees a position therefore sees every lower one too. A trigger fills the arrivals, so that older code takes part.

create table event_arrivals (
    id bigint generated always as identity primary key,
    session_id uuid not null,
    seq bigint not null
);

create table event_log (
    position bigint primary key,
    session_id uuid not null,
    seq bigint not null,
    at timestamptz not null default now()
);

create table event_positions (
    only_row boolean primary key default true check (only_row),
    last bigint not null
);
insert into event_positions (last) values (0);

create function note_event_arrivals() returns trigger language plpgsql as $$
begin
    insert into event_arrivals (session_id, seq) select session_id, seq from arrived order by session_id, seq;
    return null;
end
$$;

create trigger events_arrive after insert on events
    referencing new table as arrived
    for each statement execute function note_event_arrivals();

create table stream_tickets (
    digest text primary key,
    key_id text not null,
    session_id uuid,
    expires_at timestamptz not null
);
create index stream_tickets_by_expiry on stream_tickets (expires_at);
