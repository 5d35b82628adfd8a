-- Finding sessions: the words of titles, prompts and answers, tags, pins, and lists in other orders. Older code ignores
-- all of it; what it stores meanwhile is not found by its words.

alter table sessions
    add column pinned boolean not null default false,
    add column tags text[] not null default '{}';

create index sessions_by_tag on sessions using gin (tags);
create index sessions_pinned on sessions (id) where pinned;
create index sessions_by_creation on sessions (created_at);
create index sessions_by_activity on sessions (last_activity_at, id);

-- One row per prompt or answer, under its seq; seq 0 holds the title. A row per message, because a session's words in
-- one value would have to be written again with every message.
create table search_text (
    session_id uuid not null,
    seq bigint not null check (seq >= 0),
    words tsvector not null,
    primary key (session_id, seq)
);
create index search_text_by_words on search_text using gin (words) with (gin_pending_list_limit = 1024);
