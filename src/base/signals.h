// Requests to stop that arrive as POSIX signals: a flag that long-running loops poll.
#pragma once

namespace corten {

/// Which signal asked the process to stop.
enum class StopSignal {
  None,
  Interrupt,  ///< SIGINT: Ctrl-C
  Terminate,  ///< SIGTERM: a scheduler ends the job
  User1,      ///< SIGUSR1: a scheduler is about to preempt the job
};

/// Makes SIGINT, SIGTERM and SIGUSR1 set the flag that stop_requested() reads instead of ending the
/// process. A second SIGINT ends it at once with exit code 130. May be called more than once.
void install_stop_handlers();
/// The first signal received since install_stop_handlers() or clear_stop_request(); a SIGINT after
/// another signal replaces it. Safe from any thread.
StopSignal stop_requested() noexcept;
void clear_stop_request() noexcept;
/// "SIGINT", "SIGTERM", "SIGUSR1" or "none".
const char* to_string(StopSignal signal) noexcept;
/// The exit code of a run that stopped for `signal` after writing a checkpoint: 130 for SIGINT, 75
/// (EX_TEMPFAIL of sysexits.h) for SIGTERM and SIGUSR1, 0 for None.
int exit_code(StopSignal signal) noexcept;

}  // namespace corten
