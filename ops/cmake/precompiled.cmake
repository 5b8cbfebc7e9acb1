# Precompiled headers, from small to big; each is parsed once and used by many targets.
#   std        base/pch.h                 everybody: the standard library, fmt, absl's statuses
#   engine     engine/storage/pch.h       and base.v1's messages and PostgreSQL's client
#   grpc       proto/pch_grpc.h           the edges that speak gRPC, without the stubs of the services
#   test       tests/support/pch.h        test programs without gRPC: what engine has, and doctest
#   test_grpc  tests/support/pch_grpc.h   test programs, wherever gRPC is built
# A compiler reads one such file for a source, so the bigger ones repeat what the smaller have.
#
# headgate_pch(TARGET KIND)

function(headgate_define_pch kind header)
  string(REGEX REPLACE "\\.h$" ".cc" source ${header})
  add_library(headgate_pch_${kind} STATIC ${CMAKE_SOURCE_DIR}/${source})
  target_precompile_headers(headgate_pch_${kind} PRIVATE ${CMAKE_SOURCE_DIR}/${header})
  target_link_libraries(headgate_pch_${kind} PUBLIC ${ARGN})
endfunction()

function(headgate_pch target kind)
  # One for all test programs, unless there is no gRPC: making a second one costs more than reading the bigger.
  if(kind STREQUAL "test" AND TARGET headgate_pch_test_grpc)
    set(kind test_grpc)
  endif()
  target_precompile_headers(${target} REUSE_FROM headgate_pch_${kind})
  # A precompiled header is valid only under the macros that it was made with. Only those: the libraries behind them are
  # linked by whoever needs them.
  target_compile_definitions(${target} PRIVATE $<TARGET_PROPERTY:headgate_pch_${kind},COMPILE_DEFINITIONS>)
  if(kind MATCHES "grpc")
    target_compile_options(${target} PRIVATE -pthread)  # gRPC's, and it brings macros along
  endif()
  if(kind STREQUAL "grpc")
    target_link_libraries(${target} PUBLIC headgate_proto_grpc)
  endif()
endfunction()

# HEADGATE_BASE_LIBRARIES: what headers of base/ bring along.
headgate_define_pch(std base/pch.h ${HEADGATE_BASE_LIBRARIES})
headgate_define_pch(engine engine/storage/pch.h ${HEADGATE_BASE_LIBRARIES} headgate_proto PkgConfig::PQXX)
set(test_libraries ${HEADGATE_BASE_LIBRARIES} PkgConfig::PQXX doctest::doctest)
if(HEADGATE_GRPC)
  headgate_define_pch(grpc proto/pch_grpc.h ${HEADGATE_BASE_LIBRARIES} headgate_proto_grpc)
  if(HEADGATE_TESTS)
    headgate_define_pch(test_grpc tests/support/pch_grpc.h ${test_libraries} headgate_proto_grpc)
  endif()
elseif(HEADGATE_TESTS)
  headgate_define_pch(test tests/support/pch.h ${test_libraries} headgate_proto)
endif()
