-- Lists leave archived sessions out unless they are asked for. With that column in the index, a list of 100,000
-- sessions is counted without reading their rows.
drop index sessions_by_creation;
create index sessions_by_creation on sessions (created_at, id) include (archived);
drop index sessions_by_owner;
create index sessions_by_owner on sessions (owner, created_at desc, id desc) include (archived);
