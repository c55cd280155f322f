/** Plans as data: collective step lists, validator, simulator, drawing. */
export {}
