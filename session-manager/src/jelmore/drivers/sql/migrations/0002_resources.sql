-- What sessions use of memory, processes and disk. Older code neither reads nor writes these columns.

alter table sessions add column resources jsonb not null default '{}';
alter table probes add column reading jsonb not null default '{}';
