// The end of a program that gets no more memory or threads. Libraries know nothing else to do then but to abort, and so
// does C++ in most places: it is told in the log which limit was met, and the exit code is one that a supervisor can
// tell from a crash.
#pragma once

namespace headgate {

// From now on; `exit_code` is what the process ends with. An abort() or a bad access for another reason stays one. To
// be called by the main thread, after logging is configured.
void end_without_memory(int exit_code);

}  // namespace headgate
