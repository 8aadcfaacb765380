# minions_python_tests(LABEL TIMEOUT) makes a ctest LABEL.NAME of each test_NAME.py in this folder. They start engines, so
# they run one after the other (RESOURCE_LOCK), each in namespaces of its own. The folder's `run` needs root or sudo,
# and the packages that scripts/test.sh installs.
function(minions_python_tests label timeout)
    file(GLOB files CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} test_*.py)
    foreach(file IN LISTS files)
        string(REGEX REPLACE "^test_(.*)\\.py$" "\\1" name ${file})
        add_test(NAME ${label}.${name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/run ${file})
        set_tests_properties(${label}.${name} PROPERTIES
            LABELS ${label}
            TIMEOUT ${timeout}
            RESOURCE_LOCK engine
            ENVIRONMENT MINIONS_BUILD=${PROJECT_BINARY_DIR})
    endforeach()
endfunction()
