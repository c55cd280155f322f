/** The process that owns one device: device thread and comm thread. */
export {}
