#include "base/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace corten {
namespace {

std::atomic<int> g_stop{0};
static_assert(std::atomic<int>::is_always_lock_free, "the flag is written by a signal handler");

void on_signal(int number) {
  if (number == SIGINT && g_stop.exchange(SIGINT) == SIGINT) _exit(130);
  int none = 0;
  g_stop.compare_exchange_strong(none, number);
}

}  // namespace

void install_stop_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // file reads and waits go on; loops poll the flag
  sigemptyset(&action.sa_mask);
  for (int number : {SIGINT, SIGTERM, SIGUSR1}) sigaction(number, &action, nullptr);
}

StopSignal stop_requested() noexcept {
  switch (g_stop.load(std::memory_order_relaxed)) {
    case SIGINT: return StopSignal::Interrupt;
    case SIGTERM: return StopSignal::Terminate;
    case SIGUSR1: return StopSignal::User1;
    default: return StopSignal::None;
  }
}

void clear_stop_request() noexcept { g_stop.store(0); }

const char* to_string(StopSignal signal) noexcept {
  switch (signal) {
    case StopSignal::None: return "none";
    case StopSignal::Interrupt: return "SIGINT";
    case StopSignal::Terminate: return "SIGTERM";
    case StopSignal::User1: return "SIGUSR1";
  }
  return "none";
}

int exit_code(StopSignal signal) noexcept {
  switch (signal) {
    case StopSignal::None: return 0;
    case StopSignal::Interrupt: return 130;
    case StopSignal::Terminate:
    case StopSignal::User1: return 75;
  }
  return 0;
}

}  // namespace corten
