# All third-party packages, found once. Debian 12 has every one of them.

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(Protobuf REQUIRED)
find_package(absl REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(prometheus-cpp REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(doctest REQUIRED)
pkg_check_modules(PQ REQUIRED IMPORTED_TARGET libpq)
pkg_check_modules(PQXX REQUIRED IMPORTED_TARGET libpqxx)
pkg_check_modules(SQLITE3 REQUIRED IMPORTED_TARGET sqlite3)
if(NOT HEADGATE_SANITIZE)  # sanitizers bring an allocator of their own
  pkg_check_modules(JEMALLOC REQUIRED IMPORTED_TARGET jemalloc)
endif()
find_library(HTTPLIB_LIBRARY cpp-httplib REQUIRED)
find_library(RE2_LIBRARY re2 REQUIRED)

if(HEADGATE_GRPC)
  find_package(gRPC REQUIRED)
  find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
endif()
if(HEADGATE_SINK_KAFKA)
  pkg_check_modules(RDKAFKA REQUIRED IMPORTED_TARGET rdkafka)
endif()
pkg_check_modules(HIREDIS REQUIRED IMPORTED_TARGET hiredis)
# It brings -D_FILE_OFFSET_BITS=64, which says nothing new on 64 bits but makes precompiled headers unusable.
set_property(TARGET PkgConfig::HIREDIS PROPERTY INTERFACE_COMPILE_OPTIONS "")
if(HEADGATE_SINK_NATS)
  pkg_check_modules(NATS REQUIRED IMPORTED_TARGET libnats)
endif()

# What headers of base/ bring along: every target compiles under the same macros, and shares precompiled headers.
set(HEADGATE_BASE_LIBRARIES
    absl::status absl::statusor absl::strings absl::synchronization fmt::fmt spdlog::spdlog yaml-cpp nlohmann_json::nlohmann_json
    prometheus-cpp::core CLI11::CLI11 ${HTTPLIB_LIBRARY} Threads::Threads)
