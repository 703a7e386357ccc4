// A file is being read: the page is loaded again, to show how far it is.
setTimeout(() => location.reload(), 2000);
