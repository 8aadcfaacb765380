# minions_add_plugin(NAME SOURCES … [LIBRARIES …] [FOLDER runtimes|examples])
#
# Makes NAME.so, a runtime plugin: linked with the SDK, exporting minions_plugin_entry and nothing else, placed
# in lib/minions/FOLDER of the build tree (default: runtimes) and, for runtimes, installed to the same place.
function(minions_add_plugin name)
    cmake_parse_arguments(ARG "" "FOLDER" "SOURCES;LIBRARIES" ${ARGN})
    if(NOT ARG_SOURCES)
        message(FATAL_ERROR "minions_add_plugin(${name}): name its SOURCES")
    endif()
    if(NOT ARG_FOLDER)
        set(ARG_FOLDER runtimes)
    endif()
    set(exports ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/minions_plugin.map)
    set(directory ${CMAKE_BINARY_DIR}/lib/minions/${ARG_FOLDER})

    add_library(plugin_${name} MODULE ${ARG_SOURCES})
    target_link_libraries(plugin_${name} PRIVATE ${ARG_LIBRARIES} minions::sdk)
    set_target_properties(plugin_${name} PROPERTIES
        PREFIX "" OUTPUT_NAME ${name} LIBRARY_OUTPUT_DIRECTORY ${directory}
        CXX_VISIBILITY_PRESET hidden C_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
    target_link_options(plugin_${name} PRIVATE
        -Wl,--version-script=${exports} -Wl,--exclude-libs,ALL)
    set_property(TARGET plugin_${name} APPEND PROPERTY LINK_DEPENDS ${exports})
    if(NOT MINIONS_SANITIZE AND NOT CMAKE_CXX_FLAGS MATCHES "-fsanitize=")
        # Under sanitizers their runtime is found in the program only.
        target_link_options(plugin_${name} PRIVATE -Wl,-z,defs)
    endif()
    # The loader refuses what others could have written, whatever the umask of the build was.
    add_custom_command(TARGET plugin_${name} POST_BUILD
        COMMAND chmod go-w $<TARGET_FILE:plugin_${name}> ${directory} VERBATIM)
    if(ARG_FOLDER STREQUAL "runtimes")
        # Not CMAKE_INSTALL_LIBDIR, which is lib/x86_64-linux-gnu or lib64 in places: the daemon looks here.
        install(TARGETS plugin_${name} LIBRARY DESTINATION lib/minions/runtimes)
    endif()
endfunction()
