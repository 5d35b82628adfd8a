-- Turns and prompts that were lost with a container and wait to be asked again. Older code leaves the column alone.

alter table sessions add column unanswered jsonb not null default '[]';
