-- The inputs of a session are looked for by their ids, by the number of a turn and from the first one on: without reading
-- what the agent said in between. Writes of output wait while the index is built: about a second per million rows.

create index output_inputs on output (session_id, seq) where kind = 'input';
