# Fails if docs/configuration.md is not what the program says: cmake -DPROGRAM=… -DREFERENCE=… -P this.
execute_process(COMMAND ${PROGRAM} config --config /dev/null --markdown OUTPUT_VARIABLE now RESULT_VARIABLE failed)
if(failed)
    message(FATAL_ERROR "${PROGRAM} config --markdown failed: ${failed}")
endif()
file(READ ${REFERENCE} kept)
if(NOT now STREQUAL kept)
    message(FATAL_ERROR "${REFERENCE} is stale; run: ${PROGRAM} config --config /dev/null --markdown > ${REFERENCE}")
endif()
