# headgate_library(NAME [PCH std|engine|grpc|none] [ALONE] [DEPS ...] [TEST_DEPS ...])
#   One static library from all *.cc of the current folder that are not *_test.cc, main.cc or pch.cc.
#   ALONE: its sources are not compiled together, because names repeat in their anonymous namespaces.
#   With tests enabled, the folder's *_test.cc become one doctest program NAME_test, registered with ctest (label unit).
# headgate_program(NAME LIBRARY)
#   A program of main.cc and one library, with the allocator of ops/decisions/0006.
# headgate_test(NAME SOURCES ... DEPS ... [PCH test|test_grpc] [LABEL unit|integration|...] [TIMEOUT s])
#   One doctest program with the common main of tests/support.
# headgate_suites(NAME PREFIX prefix SOURCES ... [MORE ...] DEPS ... [LABEL ...] [TIMEOUT s])
#   One doctest program too, but each of its sources is a test of its own to ctest, prefix_SOURCE: as if each were a
#   program, without what that costs to compile and link. MORE: sources without cases.

# What --version and headgate_build_info tell: of the clone, or given with -DHEADGATE_COMMIT=….
if(NOT HEADGATE_COMMIT)
  execute_process(COMMAND git -C ${CMAKE_SOURCE_DIR} rev-parse --short=12 HEAD
                  OUTPUT_VARIABLE HEADGATE_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT HEADGATE_COMMIT)
    set(HEADGATE_COMMIT unknown)
  endif()
endif()

# Sources compiled together share the parsing of headers and the instances of templates: half the time of a clean build.
# Not more than eight, so that an edit does not wait for too many; -DHEADGATE_UNITY=OFF compiles each alone.
function(headgate_unity target)
  if(HEADGATE_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  endif()
endfunction()

function(headgate_library name)
  cmake_parse_arguments(ARG "ALONE" "PCH" "DEPS;TEST_DEPS" ${ARGN})
  if(NOT ARG_PCH)
    set(ARG_PCH std)
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "(_test|/main|/pch)\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  if(sources)
    add_library(${name} STATIC ${sources})
    target_link_libraries(${name} PUBLIC ${ARG_DEPS})
    headgate_pch(${name} ${ARG_PCH})
    if(NOT ARG_ALONE)
      headgate_unity(${name})
    endif()
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE ${ARG_DEPS})
  endif()
  if(HEADGATE_TESTS AND tests)
    set(test_pch test)
    if(ARG_PCH STREQUAL "grpc")
      set(test_pch test_grpc)
    endif()
    headgate_test(${name}_test PCH ${test_pch} SOURCES ${tests} DEPS ${name} ${ARG_TEST_DEPS} LABEL unit TIMEOUT 120)
  endif()
endfunction()

function(headgate_allocator target)
  if(TARGET PkgConfig::JEMALLOC)
    target_link_libraries(${target} PRIVATE PkgConfig::JEMALLOC)
  endif()
endfunction()

function(headgate_program name library)
  add_executable(${name} main.cc)
  target_link_libraries(${name} PRIVATE ${library})
  target_compile_definitions(${name} PRIVATE HEADGATE_VERSION="${PROJECT_VERSION}"
                             HEADGATE_COMMIT="${HEADGATE_COMMIT}")
  headgate_allocator(${name})
endfunction()

# What headgate_test and headgate_suites share.
macro(headgate_test_program name)
  cmake_parse_arguments(ARG "" "PREFIX;PCH;LABEL;TIMEOUT" "SOURCES;MORE;DEPS" ${ARGN})
  if(NOT ARG_PCH)
    set(ARG_PCH test)
  endif()
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(HEADGATE_SANITIZE)
    math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 4")
  endif()
  add_executable(${name} ${ARG_SOURCES} ${ARG_MORE})
  target_link_libraries(${name} PRIVATE headgate_test_main ${ARG_DEPS})
  headgate_pch(${name} ${ARG_PCH})
  headgate_unity(${name})
endmacro()

# headgate_register(TEST COMMAND...); the program writes its results under the test's name.
macro(headgate_register test)
  add_test(NAME ${test} COMMAND ${ARGN})
  set_tests_properties(${test} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT}
                       ENVIRONMENT HEADGATE_TEST_NAME=${test})
endmacro()

function(headgate_test name)
  headgate_test_program(${name} ${ARGN})
  headgate_register(${name} ${name})
endfunction()

function(headgate_suites name)
  headgate_test_program(${name} ${ARGN})
  foreach(source ${ARG_SOURCES})
    get_filename_component(suite ${source} NAME_WE)
    headgate_register(${ARG_PREFIX}_${suite} ${name} --source-file=*/${suite}.cc)
  endforeach()
endfunction()
