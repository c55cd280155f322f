/** skein train, generate, score, export, doctor, setup: start, watch, drain a run. */
export {}
