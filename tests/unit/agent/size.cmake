# Fails if a program is larger than it may be: cmake -DPROGRAM=… -DMOST_BYTES=… -P this.
file(SIZE ${PROGRAM} bytes)
if(bytes GREATER MOST_BYTES)
    message(FATAL_ERROR "${PROGRAM} has ${bytes} bytes, more than ${MOST_BYTES}")
endif()
message(STATUS "${PROGRAM} has ${bytes} bytes")
