// Starts the page. The build fills in the names, and Trunk has compiled what they name.
import init from "./{{page_script}}";

await init({ module_or_path: new URL("./{{page_module}}", import.meta.url) });
