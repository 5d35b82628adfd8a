-- An event that an operator publishes again is marked, because the event bus drops what it takes for a repeat.

alter table outbox add column again text;
