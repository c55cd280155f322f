/** Frames and control messages to bytes and back. */
export {}
