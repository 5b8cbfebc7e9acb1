# Warnings, hardening, compiler cache. Sanitizers are switched on by presets.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # Precompiled headers need these two kinds of tolerance, or every compilation misses. With the first one ccache may
  # only compare whole headers (depend mode): compared after preprocessing, a header whose comments or macros changed
  # gives the old precompiled one back. For the same reason nothing is shared between folders, whatever the user's own
  # settings of ccache say, and what was stored without all this is left alone (the namespace).
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_DEPEND=1 CCACHE_BASEDIR= CCACHE_HASHDIR=1
      CCACHE_NAMESPACE=headgate ${CCACHE_PROGRAM})
endif()

# Programs are compiled like libraries, so that all share the precompiled headers.
set(CMAKE_CXX_COMPILE_OPTIONS_PIE "-fPIC")

set(HEADGATE_SANITIZE "" CACHE STRING "Sanitizers, for example address,undefined")

add_compile_options(-Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports std::stop_source as maybe uninitialised; it is not.
  add_compile_options(-Wno-maybe-uninitialized -fpch-preprocess)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Never tidies up below 1 GB of its own heap: 40 MB more for a source that needs 600, and a tenth of the time less.
  add_compile_options(--param=ggc-min-expand=400 --param=ggc-min-heapsize=1000000)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  add_compile_options(-Wthread-safety)
endif()

if(HEADGATE_SANITIZE)
  add_compile_options(-fsanitize=${HEADGATE_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${HEADGATE_SANITIZE})
  add_compile_definitions(HEADGATE_SANITIZED)  # for tests with bounds of time
  if(HEADGATE_SANITIZE MATCHES "thread")
    # Protobuf's headers add members to its classes when they see this macro, and Debian's library is built without.
    add_compile_options(-U__SANITIZE_THREAD__)
  endif()
else()
  add_compile_options(-fstack-protector-strong -D_GLIBCXX_ASSERTIONS)
  if(CMAKE_BUILD_TYPE MATCHES "Rel")
    add_compile_options(-D_FORTIFY_SOURCE=2)
  endif()
  add_link_options(-Wl,-z,relro,-z,now)
endif()

if(HEADGATE_GUARD_SWITCHES)
  add_compile_definitions(HEADGATE_GUARD_SWITCHES)
endif()

find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM)
  add_link_options(-fuse-ld=mold)
endif()
