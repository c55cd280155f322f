/** Sockets: control links and tensor lanes; the receiver dials. */
export {}
