// Sinks that write structured JSON, one event a line: to standard output, and to a file.
//
// Both are used by one thread. Writing blocks as long as the device does; between lines the stop token is obeyed.
#pragma once

#include <memory>

#include "sinks/encoding/settings.h"
#include "sinks/log/settings.h"
#include "sinks/sink.h"

namespace headgate::sinks {

// Acknowledges when the kernel has taken the bytes; whoever reads the pipe may still lose them.
StatusOr<std::unique_ptr<Sink>> make_stdout_sink(std::string name, const EncodingSettings& encoding,
                                                 const StdoutSettings& settings);

// Appends and calls fdatasync before acknowledging. A line that was torn by a crash or a full disk is cut off before
// anything is written after it. RESOURCE_EXHAUSTED when the disk is full.
StatusOr<std::unique_ptr<Sink>> make_file_sink(std::string name, const EncodingSettings& encoding,
                                               const FileSettings& settings);

}  // namespace headgate::sinks
