-- The agent's own transcripts: a session whose volume is lost resumes its conversation from them.

create table transcripts (
    session_id uuid not null references sessions on delete cascade,
    seq bigint not null,
    conversation_id text not null,
    subpath text not null,
    uuid text,
    entry text not null,
    primary key (session_id, seq)
);
create index transcripts_by_conversation on transcripts (session_id, conversation_id, subpath, seq);
