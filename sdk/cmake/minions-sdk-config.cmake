# find_package(minions-sdk) gives minions::sdk and minions_add_plugin().
include(CMakeFindDependencyMacro)
find_dependency(Threads)
include(${CMAKE_CURRENT_LIST_DIR}/minions-sdk-targets.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/minions_plugin.cmake)
