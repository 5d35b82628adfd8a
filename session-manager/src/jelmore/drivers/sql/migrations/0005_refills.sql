-- How far publishing everything again on a stream that lost it has come.

create table refills (
    only_row boolean primary key default true check (only_row),
    stream text not null,
    session_id uuid not null,
    seq bigint not null
);
