"""The questions, and their answers: each metric is one pure function from tables to a table, written once in Ibis.

`scope` says what is asked about, `resolve` makes one of what a person chose, and `filters` applies it to the `tables`;
`activity` says who is active. One module for each noun stands on these; `catalog` lists every metric, and `questions`
the five questions made of them. `lake` opens the events for the engine, and `answer` shows a result to a person or a
program.
"""
