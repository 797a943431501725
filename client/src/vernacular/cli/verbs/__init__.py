"""One module a verb, each with `run(options, terminal)`; a module is imported when its verb is used."""
