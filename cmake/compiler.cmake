# Warnings, sanitizers and clang-tidy, the same for every target of this build.
add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # False positives of GCC 12 inside libstdc++ at -O2 (GCC bugs 105329, 105651, 107138).
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict> $<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized>)
endif()
add_link_options(-Wl,--as-needed)

if(NOT MINIONS_FAILPOINTS)
    add_compile_definitions(MINIONS_NO_FAILPOINTS)
endif()

if(MINIONS_SANITIZE)
    add_compile_options(-fsanitize=${MINIONS_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${MINIONS_SANITIZE})
else()
    add_compile_options($<$<CONFIG:RelWithDebInfo>:-D_FORTIFY_SOURCE=2> -fstack-protector-strong)
    add_link_options(-Wl,-z,relro,-z,now)
endif()

if(MINIONS_TIDY)
    find_program(CLANG_TIDY NAMES clang-tidy clang-tidy-14 REQUIRED)
    set(CMAKE_CXX_CLANG_TIDY ${CLANG_TIDY} --quiet)
endif()
