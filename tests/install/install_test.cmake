# Installs BUILD below WORK with the prefix /usr, twice; builds and installs sdk/examples/null out of tree on top; and
# asks the installed program which runtimes it finds.
set(root ${WORK}/root)

function(run)
    execute_process(COMMAND ${ARGN} RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(failed)
        message(FATAL_ERROR "${ARGN}: ${failed}\n${output}")
    endif()
    set(output ${output} PARENT_SCOPE)
endfunction()

function(require_match text pattern)
    if(NOT text MATCHES "${pattern}")
        message(FATAL_ERROR "no '${pattern}' in:\n${text}")
    endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
set(ENV{DESTDIR} ${root})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix /usr)
file(READ ${root}/usr/lib/systemd/system/minions.service unit)
require_match("${unit}" "ExecStart=/usr/bin/minions serve\n")

set(configuration ${root}/etc/minions/minions.conf)
file(WRITE ${configuration} "# an operator's\n")
run(${CMAKE_COMMAND} --install ${BUILD} --prefix /usr)
file(READ ${configuration} kept)
if(NOT kept STREQUAL "# an operator's\n")
    message(FATAL_ERROR "the second installation overwrote ${configuration}")
endif()

# With this prefix GNUInstallDirs makes LIBDIR lib/x86_64-linux-gnu on Debian; a runtime has to be found even so.
run(${CMAKE_COMMAND} -S ${SOURCE}/sdk/examples/null -B ${WORK}/null -G Ninja -DCMAKE_BUILD_TYPE=Debug
    -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER} -DCMAKE_PREFIX_PATH=${root}/usr -DCMAKE_INSTALL_PREFIX=/usr)
run(${CMAKE_COMMAND} --build ${WORK}/null)
run(${CMAKE_COMMAND} --install ${WORK}/null)
run(${root}/usr/bin/minions config --config ${configuration})
require_match("${output}" "\nruntimes\\.docker\\.socket ")
require_match("${output}" "\nruntimes\\.null\\.")
