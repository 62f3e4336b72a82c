// What the page carries compressed: the data of its figures, and plotly.js, whose hash stands in the page's policy.
if (typeof DecompressionStream === "undefined") {
  document.getElementById("too-old").hidden = false;
  return;
}

async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

const data = JSON.parse(await unpacked("rgprobe-data"));
const library = document.createElement("script");
library.textContent = await unpacked("rgprobe-plotly");
document.head.append(library);
