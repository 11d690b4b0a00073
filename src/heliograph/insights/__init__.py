"""The questions, and their answers: each metric is one pure function from tables to a table, written once in Ibis.

`scope` says which events count, `activity` who is active; one module for each question stands on these two;
`questions` lists them. `lake` opens the events for the engine, and `answer` shows a result to a person or a program.
"""
