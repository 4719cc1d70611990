// Looks, before the page starts, for what it cannot start without, and says in a sentence what is missing and what to
// do. The engine asks for the rest when a model is loaded (src/api/launch.rs). A classic script in old syntax: it has to
// run where nothing else here does.
(function () {
  var EMPTY_MODULE = [0, 97, 115, 109, 1, 0, 0, 0];
  var VERSIONS = "Chrome or Edge 91, Firefox 89, Safari 16.4 and later can.";

  function missing() {
    if (typeof WebAssembly !== "object" || typeof Uint8Array !== "function") {
      return "WebAssembly is missing, or switched off in this browser’s settings. " + VERSIONS;
    }
    try {
      new WebAssembly.Module(new Uint8Array(EMPTY_MODULE));
    } catch (error) {
      return "WebAssembly is refused here, by a policy of the server or by the browser’s protection (a lockdown mode, for instance). Allow it for this page.";
    }
    if (!("noModule" in HTMLScriptElement.prototype)) return "module scripts are missing. " + VERSIONS;
    if (typeof Worker !== "function") return "Web Workers are missing. " + VERSIONS;
    if (!window.URL || !URL.createObjectURL) return "blob URLs are missing. " + VERSIONS;
    if (document.querySelector("script[data-type]") && typeof DecompressionStream !== "function") {
      return "DecompressionStream is missing, which unpacks what this file carries. Chrome or Edge 91, Firefox 113, Safari 16.4 and later have it; older ones can run the page from a server.";
    }
    return "";
  }

  document.addEventListener("DOMContentLoaded", function () {
    var reason = missing();
    if (!reason) return;
    document.getElementById("run-status").textContent = "";
    document.getElementById("run-error").textContent = "This browser cannot run this page: " + reason;
    document.getElementById("model-chip-text").textContent = "not started";
    document.getElementById("model-line").textContent = "Demo: not started";
    document.getElementById("model-chip").setAttribute("data-state", "failed");
    document.getElementById("model-state").setAttribute("data-state", "failed");
  });
})();
